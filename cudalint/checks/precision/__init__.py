"""What is found about precision: autocast, scaling, TF32."""
